from axonc.backends.executor.prepared import Prepared
def check_order(target, steps): pass
