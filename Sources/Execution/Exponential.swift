import Glibc

/// `e^x` in double precision, for the few places that are not hot.
func exponential(_ x: Float) -> Double { exp(Double(x)) }
