"""Commands of `crossfold`: each module has `add_parser(commands)`, which names what it runs."""
