"""A structure-aware fuzzer of stores, folders of NumPack 0.x and safetensors files.

``PYTHONPATH=tests python -m fuzz --seed 1 --seconds 60`` makes valid inputs (`seeds`), mutates
their claims and repairs their checksums (`store_mutations`, `other_mutations`), and makes every
call on each of them in a forked child with limited memory and time (`drive`, `child`). A
finding is a signal, a hang, an exception that is not the package's own, a file outside the
store's folder that was read or changed, a descriptor left open, or wrong rows of an array whose
files and entry were not mutated (`oracle`). Each finding is saved as a file that ``--replay``
runs again.
"""
