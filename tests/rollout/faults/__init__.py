"""Real processes under real faults: kills, a bad network, stopped and skewed clocks, bad disks."""
