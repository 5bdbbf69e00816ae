"""A Kaggle session at home: a command without a network, its inputs read-only below `/kaggle`."""
