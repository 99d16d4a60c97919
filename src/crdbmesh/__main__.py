"""`python -m crdbmesh`."""

from crdbmesh.cli import main

if __name__ == "__main__":
    main()
