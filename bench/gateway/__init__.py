"""The gateway beside nginx: same backend, same load, each process on a core of its own, in one run.

`python -m bench.gateway` enters at `__main__`. `figures` says what is measured and promised; `sides` starts what is
measured; `load` sends the requests; `machine` is about cores, programs and processes; `report` and `plot` tell.
"""
