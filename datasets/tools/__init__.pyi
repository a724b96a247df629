from .check import describe as describe
