# What the provider starts. Change it to the handler that yours expects; it has to call the user's function with
# the argument, and to distinguish a function that raises from one that returns.
from function import ENTRY_POINT as function


def handle(request):
    return function(request)
