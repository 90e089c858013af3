"""How a sandbox is made, kept and ended.

`engine` is the seam, told in full; `node/` carries it out on this machine (containerd for images, runc for
sandboxes), `remote` is the same seam across the socket to the process that may, `fake` is for unit tests.
All of them pass `tests/engine/contract.py`. Why anything is started or stopped is decided elsewhere.
"""
