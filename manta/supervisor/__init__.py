"""`manta serve`: one gateway and N nodes as child processes of one supervisor on this machine."""
