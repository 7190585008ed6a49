"""MLIR text of threads that take parts of a job without Python.

A *job* is a list of calls. Each thread of it counts NEXT up and makes the call of that number,
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
    """Words of a job. NEXT: calls begun. DONE: calls that have ended. COUNT: of calls. CALLS: two
    words each, address of the function and of its task."""

    NEXT = 0
    DONE = LINE
    COUNT = 2 * LINE
    CALLS = 2 * LINE + 1


class Letter(IntEnum):
    """Words of what posts a job. SPINS: how often `finish` looks whether others have ended. BOXES:
    addresses of THREADS mailboxes."""

    JOB = 0
    SPINS = 1
    THREADS = 2
    BOXES = 3


def pool_module() -> str:
    """Functions of a mailbox: @serve waits for jobs. Of a letter: @post gives the job to the
    threads, @finish takes part in it, waits for its end and takes it back (a thread that has lost
    its CPU may leave DONE short of COUNT, or BUSY set), @run does both."""
    return "\n".join([_work_off(), _serve(), _post(), _take_back(), _finish(), _run()])


def _word(name: str, base: str, number: int) -> str:
    return f"%{name}_p = llvm.getelementptr %{base}[{number:d}] : (!llvm.ptr) -> !llvm.ptr, i64"


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


_LETTER = f"""
  %c0 = arith.constant 0 : i64
  %c1 = arith.constant 1 : i64
  %job = llvm.load %letter : !llvm.ptr -> !llvm.ptr
  %spins_p = llvm.getelementptr %letter[{Letter.SPINS:d}] : (!llvm.ptr) -> !llvm.ptr, i64
  %spins = llvm.load %spins_p : !llvm.ptr -> i64
  %threads_p = llvm.getelementptr %letter[{Letter.THREADS:d}] : (!llvm.ptr) -> !llvm.ptr, i64
  %threads = llvm.load %threads_p : !llvm.ptr -> i64
  %boxes = llvm.getelementptr %letter[{Letter.BOXES:d}] : (!llvm.ptr) -> !llvm.ptr, i64"""

_BOX = """
    %box_p = llvm.getelementptr %boxes[%thread] : (!llvm.ptr, i64) -> !llvm.ptr, i64
    %box = llvm.load %box_p : !llvm.ptr -> !llvm.ptr"""


def _post() -> str:
    """NEXT comes last: from then on a thread may take part."""
    return f"""
llvm.func @post(%letter: !llvm.ptr) {{
  {_LETTER}
  {_word("done", "job", Job.DONE)}
  llvm.store %c0, %done_p atomic release {{alignment = 8}} : i64, !llvm.ptr
  llvm.store %c0, %job atomic release {{alignment = 8}} : i64, !llvm.ptr
  %address = llvm.ptrtoint %job : !llvm.ptr to i64
  scf.for %thread = %c0 to %threads step %c1 : i64 {{
    {_BOX}
    {_word("given", "box", Mailbox.JOB)}
    {_word("sequence", "box", Mailbox.SEQUENCE)}
    llvm.store %address, %given_p atomic release {{alignment = 8}} : i64, !llvm.ptr
    %before = llvm.atomicrmw add %sequence_p, %c1 seq_cst : !llvm.ptr, i64
  }}
  llvm.return
}}"""


def _take_back() -> str:
    return f"""
llvm.func internal @take_back(%letter: !llvm.ptr) {{
  {_LETTER}
  scf.for %thread = %c0 to %threads step %c1 : i64 {{
    {_BOX}
    {_word("given", "box", Mailbox.JOB)}
    {_word("busy", "box", Mailbox.BUSY)}
    %taken = llvm.atomicrmw xchg %given_p, %c0 seq_cst : !llvm.ptr, i64
    {_wait("busy", "ne", "%c0")}
  }}
  llvm.return
}}"""


def _wait(name: str, condition: str, other: str) -> str:
    """Look at %<name>_p as long as it is `condition` to `other`, %spins times at most."""
    return f"""
    %looked = scf.while (%before = %c0) : (i64) -> (i64) {{
      {_load(name, "seq_cst")}
      %is_open = arith.cmpi {condition}, %{name}, {other} : i64
      scf.if %is_open {{
        {_PAUSE}
      }}
      %more = arith.addi %before, %c1 : i64
      %has_time = arith.cmpi slt, %more, %spins : i64
      %again = arith.andi %is_open, %has_time : i1
      scf.condition(%again) %more : i64
    }} do {{
    ^body(%more: i64):
      scf.yield %more : i64
    }}"""


def _finish() -> str:
    return f"""
llvm.func @finish(%letter: !llvm.ptr) {{
  {_LETTER}
  {_word("done", "job", Job.DONE)}
  {_word("count", "job", Job.COUNT)}
  %count = llvm.load %count_p : !llvm.ptr -> i64
  llvm.call @work_off(%job) : (!llvm.ptr) -> ()
  {_wait("done", "ult", "%count")}
  llvm.call @take_back(%letter) : (!llvm.ptr) -> ()
  llvm.return
}}"""


def _run() -> str:
    return """
llvm.func @run(%letter: !llvm.ptr) {
  llvm.call @post(%letter) : (!llvm.ptr) -> ()
  llvm.call @finish(%letter) : (!llvm.ptr) -> ()
  llvm.return
}"""
