ALTER TABLE series_drift ADD COLUMN features jsonb;

COMMENT ON COLUMN series_drift.features IS
    'The features that lie clearly further out than on any day of the training, furthest first: '
    'a list of {feature, psi, usual_psi, ks}; null where there is nothing to compare with.';
