"""The command `sampan`: commands over the sdk, and over `serve/up` for the platform's processes.

Enters at `app.main`. A file holds the commands of one subject; `failures` alone knows exit codes and next steps,
`screen` alone what a terminal is, `wishes` what the options of `deploy` mean. Heavy imports wait in the commands.
"""
