"""Metrics of detector scores by their published definitions, intervals, operating points, calibration.

A score is `fake_score`: a float64 logit difference (fake - real) or P(fake). Higher means fake.
Labels are 0 = real (bona fide) and 1 = fake (spoof). A clip is called fake when its score >= threshold.
"""
