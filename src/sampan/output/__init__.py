"""What functions print: kept compressed, found again by time, request and text.

`splitting` makes lines of bytes, `requests` says whose a line is, `levels` how grave; `blocks` packs lines and
`matching` picks from a block. `store.OutputStore` keeps blocks with the positions they were read up to, `search`
reads them back and follows, `upkeep` merges small ones and drops the oldest. Who reads the streams lives above,
in `collector/output.py`.
"""
