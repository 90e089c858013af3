"""The outside's formats: FC's JSON shapes, its operations, errors, signature and headers, and JSON web keys.

A call enters at `signature.verify`, then `operations.match`; a body is read into one of `shapes`; whatever went
wrong leaves through `errors.answer`. `tokens` are other issuers'. All of it is pure.
"""
