"""Lightning modules that train on pretext tasks, runs, and the command line that trains them."""
