"""The front door: settings in, rooms wired; a file per role.

`up` sets a machine up and supervises the processes; `gateway`, `control` and `sandboxd` each wire the rooms of one
process; `foreign` writes the configuration of the two programs that are not ours. A process of ours is started as
`python -m sampan.serve ROLE SETTINGS-FILE` (`__main__`).
"""
