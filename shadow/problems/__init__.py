"""OpenEvolve's problem folders as they are: ``initial_program.py``, ``evaluator.py`` and ``config.yaml``.

What was tried, and what is wrong with it:

* importing the evaluator here: it imports the candidate, which then runs with the keys and files of this
  process, and one endless loop ends the search (OpenEvolve's own way, a thread with a time-out);
* one warm process that forks: what evaluators load (BLAS, torch, thread pools) does not survive a fork;
* the cell that candidates of a kind run in: an evaluator opens files, starts processes, and loads libraries.

What is used: one executed process for each evaluation, with an environment of its own, watched by a parent
that ends every process which came of it. Candidate and evaluator share it, so what they answer is
believed as OpenEvolve believes it: :data:`.result.WARNING` says what that means.

* :mod:`.folder` reads a folder, :mod:`.settings` its ``config.yaml``, :mod:`.statement` puts it into words;
* :mod:`.rules` is OpenEvolve's arithmetic of metrics; :mod:`.child` runs where the evaluator runs, with :mod:`.shim`
  in the place of the package;
* :mod:`.process` starts and ends that process, :mod:`.answers` reads what it says, :mod:`.engine` makes evaluations
  of it;
* :mod:`.spans`, :mod:`.places` and :mod:`.operators` change plain Python, :mod:`.dialect` and :mod:`.space` are what
  search sees of it;
* :mod:`.run` wires all of it to the search, :mod:`.result` is what comes out.
"""
