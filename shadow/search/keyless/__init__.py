"""Programs made without a model: syntax trees mutated and crossed, constants tuned, in every form that programs have."""
