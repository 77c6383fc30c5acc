"""The fast path: conversions without a plan.

It takes what adapters have registered in `fast_table`, and returns None if a conversion needs a
copy, a decision or a message; the policy then takes over. The result of a call is the same either
way, only its cost differs.
"""

cimport numpy as cnp
from cpython.object cimport PyObject, Py_TYPE

from numpack._dlpack.fast_export cimport make_object
from numpack._dlpack.fast_import cimport call_named, call_or_none, view_object
from numpack._dlpack.fast_table cimport FastExport, FastImport, export_of, import_of

cnp.import_array()

cdef bint _enabled = True


def enable_fast_path(bint enabled):
    """Use the fast path, as by default, or plan every conversion; return the previous setting."""
    global _enabled
    previous, _enabled = _enabled, enabled
    return previous


def try_import(obj, framework=None):
    """View an object's memory as an array if the fast path applies.

    Parameters
    ----------
    obj : object
    framework : str, optional
        Accept only objects of this framework. By default, accept ndarray, which is returned as it
        is, and types that are exchanged by DLPack.

    Returns
    -------
    ndarray or None
    """
    return try_import_object(obj, framework)


cdef object try_import_object(obj, framework):
    cdef PyObject *found
    cdef FastImport half
    if not _enabled:
        return None
    if framework is None and cnp.PyArray_CheckExact(obj):
        return obj
    found = import_of(<PyObject *>Py_TYPE(obj))
    if found == NULL:
        return None
    half = <FastImport>found
    if half.framework != framework if framework is not None else not half.exchanged:
        return None
    return view_object(half, obj)


cdef object _table_type = None


def register_table_fast_path(cls):
    """Register the fast path of the columns of `pyarrow.Table`, passed as `cls`."""
    global _table_type
    _table_type = cls


cdef object try_import_column(table, name):
    """View the memory of a column of one chunk with a unique name; return None otherwise."""
    if type(table) is not _table_type or type(name) is not str:
        return None
    position = table.schema.get_field_index(name)  # -1 if the name is missing or ambiguous
    if position == -1:
        return None
    column = table.column(position)
    if column.num_chunks != 1:
        return None
    return try_import_object(column.chunk(0), "arrow")


def try_export(array, framework):
    """Create an object of a framework over an array's memory if the fast path applies.

    Parameters
    ----------
    array : ndarray
    framework : str

    Returns
    -------
    object or None
    """
    return try_export_array(array, framework)


cdef object try_export_array(array, framework):
    cdef PyObject *found = export_of(framework)
    if found == NULL or not _enabled or not cnp.PyArray_CheckExact(array):
        return None
    return make_object(<FastExport>found, array, None)


cdef object try_share(obj, target):
    """Convert an object to a target: in one step over Arrow columns, or else by way of an array."""
    cdef PyObject *found
    cdef FastImport half
    cdef FastExport made
    if not _enabled or type(target) is not str:
        return None
    if cnp.PyArray_CheckExact(obj):
        return obj if target == "numpy" else try_export_array(obj, target)
    found = import_of(<PyObject *>Py_TYPE(obj))
    if found == NULL:
        return None
    half = <FastImport>found
    if target == "numpy":
        return view_object(half, obj)
    found = export_of(target)
    if found == NULL:
        return None
    made = <FastExport>found
    if half.columns is not None and made.from_columns is not None:
        return _share_columns(half, made, obj)
    if half.view is None and half.api == NULL and half.producer is None:
        return None
    array = view_object(half, obj)
    if array is None:
        return None
    name = _name_of(half, made, obj) if cnp.PyArray_NDIM(array) == 1 else None
    return make_object(made, array, name)


cdef object _share_columns(FastImport half, FastExport made, obj):
    columns = call_or_none(half.columns, obj)
    if columns is None:
        return None
    return call_named(made.from_columns, columns, _name_of(half, made, obj))


cdef object _name_of(FastImport half, FastExport made, obj):
    """Return the name that the target takes over; None for none."""
    if not (half.named and made.named):
        return None
    name = obj.name
    return name if isinstance(name, str) and name else None
