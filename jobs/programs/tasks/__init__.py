"""The in-task programs in Python, for nodes without a C compiler: ../native/ room by room. Built-in modules only."""
