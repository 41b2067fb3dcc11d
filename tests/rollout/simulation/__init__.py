"""A fleet and its control plane in one thread, on simulated time, network and disks, from one seed."""
