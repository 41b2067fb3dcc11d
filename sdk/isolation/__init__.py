"""Where candidates run: processes that can neither see nor reach anything but the frames they are sent.

What was tried, and what is wrong with it:

* in the evaluator's own process: a candidate can read the future from the caller's frames, patch the
  scorer, or print a score of its own and leave;
* a pool of workers that return objects: whoever unpickles a candidate's object runs its code;
* user namespaces, bubblewrap: refused inside most containers and on stock Ubuntu;
* sub-interpreters, audit hooks, rewritten source: no boundary.

What is used: one clean process per engine (*zygote*), executed with an environment of its own and no
inherited descriptor, that forks once per candidate. The fork limits itself, drops its user, forbids
itself files, network and processes (Landlock, then a seccomp allow-list), and only then looks at the
candidate. The host keeps the trace, the clock, the simulator and the score; what crosses the border
are frames of fixed size: floats in, numbers out.

* :mod:`.layers` names the layers, the modes and the limits, :mod:`.status` how it ends;
* :mod:`.lockdown` and :mod:`.seccomp` put them in force, inside the fork;
* :mod:`.zygote` starts the clean process and forks from it, :mod:`.fork` is the handle on a fork,
  :mod:`.frames` are its messages, :mod:`.probe` sees which layers a machine gives.
"""
