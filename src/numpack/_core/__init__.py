"""What every conversion needs: policy, dtypes and memory layout.

Imports nothing of the package but `errors`.
"""
