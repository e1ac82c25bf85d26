"""Writes reference.tsv: tails to 17 digits, summed term by term from their
definition with mpmath 1.4.1 at 60 digits, each checked against scipy 1.17.1.

    python3 reference.py > reference.tsv
"""
from mpmath import mp, mpf, binomial, exp, log, loggamma
from scipy import stats

mp.dps = 60


def row(name, *args, value, scipy):
    assert scipy < 1e-250 or abs(value / mpf(float(scipy)) - 1) < 1e-7, (name, args, value, scipy)
    print(name, *[repr(a) for a in args], mp.nstr(value, 17, min_fixed=1, max_fixed=0), sep="\t")


def total(j, first, ratio, step):
    """Sums first, at j, and its successors, ratio(j) apart, until they vanish."""
    s = term = first
    while term:
        r = ratio(j)
        term *= r
        s += term
        j += step
        if r < 1 and term < s * mpf(10) ** -45:
            break
    return s


def binom(k, n, p, step):
    first = exp(loggamma(n + 1) - loggamma(k + 1) - loggamma(n - k + 1) + k * log(p) + (n - k) * log(1 - p))
    odds = p / (1 - p)
    if step > 0:
        return total(k, first, lambda j: mpf(n - j) / (j + 1) * odds, 1)
    return total(k, first, lambda j: mpf(j) / (n - j + 1) / odds, -1)


for k, n, p in [(1, 1, .5), (1, 10, 1e-12), (3, 10, .2), (10, 10, .3), (50, 100, .5), (80, 100, .5), (100, 100, .01),
                (1, 1000, .001), (30, 1000, .001), (500, 1000, .1), (9, 1000, .01), (1, 1000, .9), (700, 1000, .9),
                (10100, 1000000, .01), (12000, 1000000, .01), (20, 1000000, 1e-9), (999999, 1000000, .999)]:
    row("binom_upper", k, n, p, value=binom(k, n, mpf(p), 1), scipy=stats.binom.sf(k - 1, n, p))
    row("binom_lower", k - 1, n, p, value=binom(k - 1, n, mpf(p), -1), scipy=stats.binom.cdf(k - 1, n, p))


def hyper(k, K, n, N):
    return total(k, binomial(K, k) * binomial(N - K, n - k) / binomial(N, n),
                 lambda j: mpf(K - j) * (n - j) / ((j + 1) * (N - K - n + j + 1)), 1)


for k, K, n, N in [(1, 5, 5, 10), (5, 5, 5, 10), (3, 10, 20, 100), (10, 10, 20, 100), (25, 50, 500, 1000),
                   (50, 50, 50, 2000), (40, 50, 1000, 2000), (100, 1000, 100, 1000000), (12, 500, 1000, 100000),
                   (2, 500, 1000, 100000), (300, 1000, 400, 2000), (200, 1000, 400, 2000)]:
    row("hypergeom_upper", k, K, n, N, value=hyper(k, K, n, N), scipy=stats.hypergeom.sf(k - 1, N, K, n))

for a, b, c, d in [(3, 1, 1, 3), (10, 0, 0, 10), (50, 950, 10, 990), (20, 0, 980, 1000), (1, 9, 11, 3)]:
    row("fisher_greater", a, b, c, d, value=hyper(a, a + b, a + c, a + b + c + d),
        scipy=stats.fisher_exact([[a, b], [c, d]], alternative="greater")[1])

for k, lam in [(1, 1e-9), (5, 1e-3), (1, .5), (3, 2.), (20, 5.), (100, 50.), (50, 100.), (200, 20.), (1000, 900.),
               (101000, 100000.), (110000, 100000.), (60, 1.)]:
    x = mpf(lam)
    row("poisson_upper", k, lam, value=total(k, exp(k * log(x) - x - loggamma(k + 1)), lambda j: x / (j + 1), 1),
        scipy=stats.poisson.sf(k - 1, lam))

for k, r, p in [(1, 1., .5), (10, 2.5, .3), (60, 2.5, .3), (1, .1, .9), (50, .01, .2), (500, 5., .05), (1000, 20., .01),
                (5000, 3., .01), (100, 1000., .99), (40, .5, .1), (2, 1e-6, .5), (3, 50., .9)]:
    R, P = mpf(r), mpf(p)
    first = exp(loggamma(k + R) - loggamma(k + 1) - loggamma(R) + R * log(P) + k * log(1 - P))
    row("negbinom_upper", k, r, p, value=total(k, first, lambda j: (j + R) / (j + 1) * (1 - P), 1),
        scipy=stats.nbinom.sf(k - 1, r, p))


def bound(falling, alpha):
    lo, hi = mpf(0), mpf(1)
    for _ in range(100):
        mid = (lo + hi) / 2
        lo, hi = (mid, hi) if (falling(mid) > alpha) else (lo, mid)
    return mid


for k, n, a in [(0, 1, .05), (0, 59, .05), (1, 30, .05), (3, 100, .05), (99, 100, .05), (5, 5000, .01), (50, 1000, .001),
                (1, 100000, 1e-6), (400, 1000, .05), (999, 100000, .05)]:
    row("cp_upper", k, n, a, value=bound(lambda p: binom(k, n, p, -1), mpf(a)), scipy=stats.beta.ppf(1 - a, k + 1, n - k))
    if k + 1 < n:
        row("cp_lower", k + 1, n, a, value=bound(lambda p: mpf(a) - binom(k + 1, n, p, 1), mpf(0)),
            scipy=stats.beta.ppf(a, k + 1, n - k))
