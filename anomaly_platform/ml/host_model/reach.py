"""How far back a host's rows reach, for those who keep them and compute nothing."""

#: Rows before a row that its metrics are predicted from.
LAGS = 3
#: Rows over which the absolute errors of a metric are averaged.
AVERAGED = 10
#: Rows for which the newest reading of a metric stands in for missing ones.
FILLED = 12
#: Rows before a row that its result may depend on.
REACH = AVERAGED - 1 + LAGS + FILLED
