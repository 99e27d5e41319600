"""Checks every line of an audit file against the schema: audit_schema.py SCHEMA FILE."""

import json
import sys

import jsonschema

schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
count = 0
for number, line in enumerate(open(sys.argv[2]), 1):
    problems = list(validator.iter_errors(json.loads(line)))
    if problems:
        best = jsonschema.exceptions.best_match(problems)
        sys.exit(f"line {number}: {best.message}\n{line}")
    count += 1
print(count)
