"""What tests of several folders use.

A bot in its sandbox (`scene`), a runbook played to its end (`play`), an action alone (`actor`), a run of the engine
alone (`lamp`), measurements (`measured`), a terminal (`command_line`).
"""
