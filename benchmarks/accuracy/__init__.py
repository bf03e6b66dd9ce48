"""What methods reach: accuracies, each with the conditions under which it was measured."""
