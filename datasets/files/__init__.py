"""Bytes to arrays, safely; knows no layout."""
