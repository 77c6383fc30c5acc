"""A structure-aware fuzzer of stores, of folders of NumPack 0.x and of safetensors files.

``PYTHONPATH=tests python -m fuzz --seed 1 --seconds 60`` makes valid inputs (`seeds`), changes
what they claim and mends their checksums (`store_mutations`, `other_mutations`), and does
everything with each of them in a forked child of limited memory and time (`drive`, `child`).
A finding is a signal, a hang, an exception that is not the package's own, anything that was
changed or read outside of the store's folder, a descriptor left open, or other rows than those
of an array whose files and entry were left alone (`oracle`). Each finding is saved as a file
that ``--replay`` runs again.
"""
