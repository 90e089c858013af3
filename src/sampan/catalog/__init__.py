"""What exists, its rules and its rows: functions, revisions, versions, aliases, triggers, limits, tags, keys.

Every method of `Catalog` is one transaction: it loads what it needs (`records`), asks the pure rules (`rules`,
`guards`, `configuration`), writes, and tells `changes` the function's name. `plans` says, purely, what ought to run
and where calls go. A call enters at `catalog.Catalog`. Nothing here knows HTTP, or where instances are.
"""
