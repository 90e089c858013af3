"""The outside's formats: FC's JSON shapes, its table of operations, its errors and its signature. Nothing of ours."""
