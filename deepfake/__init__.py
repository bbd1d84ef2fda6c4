"""The library that the commands share. Its rooms import downward only; tests/test_house.py holds the order."""
