"""Transactions on jobs, written once for all engines.

A script is a generator that yields named statements and is sent their rows: it decides, an engine executes. SQLite runs
a script inside its writer, PostgreSQL awaits each statement, memory calls a method of the same name. What a script
yields first are reads under the job's lock; all its writes come in one flush at its end, in batches.
"""
