"""Test vectors that every reader of our formats shares (``spec/vectors``), and the fuzzer.

python -m pockettune.vectors                 # regenerate spec/vectors
python -m pockettune.vectors --fuzz 100000   # N each: bundles and tensor files; updates
"""
