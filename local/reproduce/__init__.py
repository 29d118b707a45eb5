"""One command for owners of DESED: check the data, train, compare with the authors' metrics."""
