"""Stands for what `pip install --target falco/examples/packages PACKAGE` puts here."""


def greet(name):
    return f"Hello {name}!"
