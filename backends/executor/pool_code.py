"""MLIR text of threads that take parts of a job without Python.

A *job* is a list of calls. Whoever takes part counts NEXT up and makes the call of that number,
until none is left. A thread waits for jobs in its *mailbox*: it looks at SEQUENCE, and goes to
sleep (returns to Python) when nothing has come for some time.

Going to sleep: the thread sets ASLEEP and looks at SEQUENCE once more; who posts a job raises
SEQUENCE and then looks at ASLEEP. So one of the two notices the other. In the same way a thread
sets BUSY and then looks at JOB, and who takes a job back clears JOB and then waits for BUSY to end:
after that the thread knows nothing of the job, whose memory may go.
"""

from __future__ import annotations

from enum import IntEnum

LINE = 8
"""int64 words of a cache line: words that different threads write have one each."""


class Mailbox(IntEnum):
    """Words of a mailbox. SEQUENCE: jobs posted. JOB: address of the last one, 0 once it has been
    taken back. BUSY: the thread may be using JOB. SEEN: SEQUENCE when the thread last looked.
    SPINS: how often it looks before it sleeps. STOP: not 0 at the end."""

    SEQUENCE = 0
    JOB = LINE
    STOP = LINE + 1
    ASLEEP = 2 * LINE
    BUSY = 2 * LINE + 1
    SEEN = 3 * LINE
    SPINS = 3 * LINE + 1
    WORDS = 4 * LINE


class Job(IntEnum):
    """Words of a job. NEXT: calls begun. DONE: calls that have ended. COUNT: of calls. SPINS: how
    often `finish` looks at DONE. CALLS: two words each, address of the function and of its task."""

    NEXT = 0
    DONE = LINE
    COUNT = 2 * LINE
    SPINS = 2 * LINE + 1
    CALLS = 2 * LINE + 2


def pool_module() -> str:
    """@serve waits for jobs (task: a mailbox), @finish takes part in a job and waits for its end
    (task: a job), @post gives a job to a thread (task: addresses of a mailbox and a job) and
    @take_back takes it back (same task; BUSY is 0 then, or the thread has lost its CPU)."""
    return "\n".join([_work_off(), _serve(), _post(), _take_back(), _finish()])


def _word(name: str, base: str, number: int) -> str:
    return f"%{name}_p = llvm.getelementptr %{base}[{number}] : (!llvm.ptr) -> !llvm.ptr, i64"


def _load(name: str, order: str = "acquire") -> str:
    return f"%{name} = llvm.load %{name}_p atomic {order} {{alignment = 8}} : !llvm.ptr -> i64"


_PAUSE = 'llvm.call_intrinsic "llvm.x86.sse2.pause"() : () -> ()'


def _work_off() -> str:
    return f"""
llvm.func internal @work_off(%job: !llvm.ptr) {{
  %c1 = arith.constant 1 : i64
  %c2 = arith.constant 2 : i64
  {_word("next", "job", Job.NEXT)}
  {_word("done", "job", Job.DONE)}
  {_word("count", "job", Job.COUNT)}
  {_word("calls", "job", Job.CALLS)}
  scf.while : () -> () {{
    %number = llvm.atomicrmw add %next_p, %c1 acq_rel : !llvm.ptr, i64
    {_load("count", "monotonic")}
    %is_left = arith.cmpi ult, %number, %count : i64
    scf.if %is_left {{
      %at = arith.muli %number, %c2 : i64
      %function_p = llvm.getelementptr %calls_p[%at] : (!llvm.ptr, i64) -> !llvm.ptr, i64
      %task_p = llvm.getelementptr %function_p[1] : (!llvm.ptr) -> !llvm.ptr, i64
      %function = llvm.load %function_p : !llvm.ptr -> !llvm.ptr
      %task = llvm.load %task_p : !llvm.ptr -> !llvm.ptr
      llvm.call %function(%task) : !llvm.ptr, (!llvm.ptr) -> ()
      %before = llvm.atomicrmw add %done_p, %c1 acq_rel : !llvm.ptr, i64
    }}
    scf.condition(%is_left)
  }} do {{
    scf.yield
  }}
  llvm.return
}}"""


def _serve() -> str:
    return f"""
llvm.func @serve(%box: !llvm.ptr) {{
  %c0 = arith.constant 0 : i64
  %c1 = arith.constant 1 : i64
  {_word("sequence", "box", Mailbox.SEQUENCE)}
  {_word("job", "box", Mailbox.JOB)}
  {_word("stop", "box", Mailbox.STOP)}
  {_word("asleep", "box", Mailbox.ASLEEP)}
  {_word("busy", "box", Mailbox.BUSY)}
  {_word("seen", "box", Mailbox.SEEN)}
  {_word("spins", "box", Mailbox.SPINS)}
  %seen_before = llvm.load %seen_p : !llvm.ptr -> i64
  %spins = llvm.load %spins_p : !llvm.ptr -> i64
  %seen:2 = scf.while (%looked = %c0, %known = %seen_before) : (i64, i64) -> (i64, i64) {{
    {_load("sequence")}
    %is_new = arith.cmpi ne, %sequence, %known : i64
    %looks = scf.if %is_new -> (i64) {{
      %idle = llvm.atomicrmw xchg %busy_p, %c1 seq_cst : !llvm.ptr, i64
      {_load("job", "seq_cst")}
      %is_there = arith.cmpi ne, %job, %c0 : i64
      scf.if %is_there {{
        %job_address = llvm.inttoptr %job : i64 to !llvm.ptr
        llvm.call @work_off(%job_address) : (!llvm.ptr) -> ()
      }}
      llvm.store %c0, %busy_p atomic release {{alignment = 8}} : i64, !llvm.ptr
      scf.yield %c0 : i64
    }} else {{
      {_PAUSE}
      %more = arith.addi %looked, %c1 : i64
      scf.yield %more : i64
    }}
    {_load("stop")}
    %goes_on = arith.cmpi eq, %stop, %c0 : i64
    %has_time = arith.cmpi slt, %looks, %spins : i64
    %again = arith.andi %goes_on, %has_time : i1
    scf.condition(%again) %looks, %sequence : i64, i64
  }} do {{
  ^body(%looks: i64, %now: i64):
    scf.yield %looks, %now : i64, i64
  }}
  llvm.store %seen#1, %seen_p : i64, !llvm.ptr
  %was = llvm.atomicrmw xchg %asleep_p, %c1 seq_cst : !llvm.ptr, i64
  {_load("sequence", "seq_cst").replace("%sequence =", "%last =")}
  %missed = arith.cmpi ne, %last, %seen#1 : i64
  scf.if %missed {{
    llvm.store %c0, %asleep_p atomic seq_cst {{alignment = 8}} : i64, !llvm.ptr
  }}
  llvm.return
}}"""


def _post() -> str:
    return f"""
llvm.func @post(%task: !llvm.ptr) {{
  %c0 = arith.constant 0 : i64
  %c1 = arith.constant 1 : i64
  %box = llvm.load %task : !llvm.ptr -> !llvm.ptr
  %from = llvm.getelementptr %task[1] : (!llvm.ptr) -> !llvm.ptr, i64
  %address = llvm.load %from : !llvm.ptr -> i64
  {_word("job", "box", Mailbox.JOB)}
  {_word("sequence", "box", Mailbox.SEQUENCE)}
  llvm.store %address, %job_p atomic release {{alignment = 8}} : i64, !llvm.ptr
  %before = llvm.atomicrmw add %sequence_p, %c1 seq_cst : !llvm.ptr, i64
  llvm.return
}}"""


def _take_back() -> str:
    return f"""
llvm.func @take_back(%task: !llvm.ptr) {{
  %c0 = arith.constant 0 : i64
  %c1 = arith.constant 1 : i64
  %box = llvm.load %task : !llvm.ptr -> !llvm.ptr
  {_word("job", "box", Mailbox.JOB)}
  {_word("busy", "box", Mailbox.BUSY)}
  {_word("spins", "box", Mailbox.SPINS)}
  %spins = llvm.load %spins_p : !llvm.ptr -> i64
  %job = llvm.atomicrmw xchg %job_p, %c0 seq_cst : !llvm.ptr, i64
  %looked = scf.while (%before = %c0) : (i64) -> (i64) {{
    {_load("busy", "seq_cst")}
    {_PAUSE}
    %more = arith.addi %before, %c1 : i64
    %is_busy = arith.cmpi ne, %busy, %c0 : i64
    %has_time = arith.cmpi slt, %more, %spins : i64
    %again = arith.andi %is_busy, %has_time : i1
    scf.condition(%again) %more : i64
  }} do {{
  ^body(%more: i64):
    scf.yield %more : i64
  }}
  llvm.return
}}"""


def _finish() -> str:
    return f"""
llvm.func @finish(%job: !llvm.ptr) {{
  %c0 = arith.constant 0 : i64
  %c1 = arith.constant 1 : i64
  {_word("done", "job", Job.DONE)}
  {_word("count", "job", Job.COUNT)}
  {_word("spins", "job", Job.SPINS)}
  %count = llvm.load %count_p : !llvm.ptr -> i64
  %spins = llvm.load %spins_p : !llvm.ptr -> i64
  llvm.call @work_off(%job) : (!llvm.ptr) -> ()
  %looked = scf.while (%before = %c0) : (i64) -> (i64) {{
    {_load("done")}
    {_PAUSE}
    %more = arith.addi %before, %c1 : i64
    %is_busy = arith.cmpi ult, %done, %count : i64
    %has_time = arith.cmpi slt, %more, %spins : i64
    %again = arith.andi %is_busy, %has_time : i1
    scf.condition(%again) %more : i64
  }} do {{
  ^body(%more: i64):
    scf.yield %more : i64
  }}
  llvm.return
}}"""
