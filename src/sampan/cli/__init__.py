"""Commands over the sdk, and 'sampan up'."""
