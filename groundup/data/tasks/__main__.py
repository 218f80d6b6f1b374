"""`python -m groundup.data.tasks` prints the tables of docs/tasks.md."""

from groundup.data.tasks.table import markdown

if __name__ == "__main__":
    print(markdown(), end="")
