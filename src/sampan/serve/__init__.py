"""The front door: settings in, rooms wired; a file per role.

`up` holds the commands and `supervisor` what they start: it sets the machine up and keeps the processes running.
`gateway`, `control` and `sandboxd` each wire the rooms of one process; `foreign` configures the two programs that
are not ours. A process of ours is started as `python -m sampan.serve ROLE SETTINGS-FILE` (`__main__`).
"""
