/* ULA with many chains as one writes it by hand: Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror
   and Shaw 2011), Box and Muller's transform (1958) and the update, in one loop over chains that the
   compiler turns into vector instructions. The counters are those of `jlangevin.noise`, and so are
   the formulas of logarithm, sine and cosine: the chains are jlangevin's up to rounding.

   `benchmarks/hand_written.py` compiles and calls it. */

#include <math.h>
#include <stdint.h>

enum { BLOCK = 512 }; /* chains whose positions stay in the first cache */

typedef union {
    float real;
    int32_t bits;
} Word;

#define ROUND(by)                    \
    a += b;                          \
    b = (b << (by)) | (b >> (32 - (by))); \
    b ^= a;
#define EVEN_GROUP ROUND(13) ROUND(15) ROUND(26) ROUND(6)
#define ODD_GROUP ROUND(17) ROUND(29) ROUND(16) ROUND(24)

/* Two standard normals of one counter under one key. */
static inline void normals(uint32_t k0, uint32_t k1, uint32_t c0, uint32_t c1, float *first,
                           float *second) {
    const uint32_t k2 = k0 ^ k1 ^ 0x1BD11BDAu;
    uint32_t a = c0 + k0, b = c1 + k1;
    EVEN_GROUP a += k1; b += k2 + 1;
    ODD_GROUP a += k2; b += k0 + 2;
    EVEN_GROUP a += k0; b += k1 + 3;
    ODD_GROUP a += k1; b += k2 + 4;
    EVEN_GROUP a += k2; b += k0 + 5;

    /* log u, u = (a + 1/2) / 2^32: exponent and mantissa, and log1p by Cephes' polynomial. */
    const Word scaled = {.real = (float)a + 0.5f};
    const float complement = ((float)(~a) + 0.5f) * 0x1p-32f;
    const int32_t exponent = (scaled.bits - 0x3F3504F3) >> 23;
    const Word mantissa = {.bits = scaled.bits - (exponent << 23)};
    const float z = exponent == 32 ? -complement : mantissa.real - 1.0f;
    float p = 7.0376836292e-2f;
    p = p * z - 1.1514610310e-1f;
    p = p * z + 1.1676998740e-1f;
    p = p * z - 1.2420140846e-1f;
    p = p * z + 1.4249322787e-1f;
    p = p * z - 1.6668057665e-1f;
    p = p * z + 2.0000714765e-1f;
    p = p * z - 2.4999993993e-1f;
    p = p * z + 3.3333331174e-1f;
    p = p * z - 0.5f;
    const float log_u = (float)(exponent - 32) * 0.69314718056f + (z + z * z * p);
    const float radius = sqrtf(-2.0f * log_u);

    /* The angle: two bits of quarter turns, and a rest whose sine and cosine are short series. */
    const float q = ((float)(int32_t)(b << 2) + 2.0f) * 0x1p-32f, s = q * q;
    const float sine = q * ((((1.6044118479e-4f * s - 4.6817541353e-3f) * s + 7.9692626246e-2f) * s -
                             6.4596409750e-1f) * s + 1.5707963268f);
    const float cosine = ((((-2.5202042373e-5f * s + 9.1926027484e-4f) * s - 2.0863480763e-2f) * s +
                           2.5366950790e-1f) * s - 1.2337005501f) * s + 1.0f;
    const uint32_t quarters = b >> 30;
    const float x = quarters & 1 ? sine : cosine, y = quarters & 1 ? cosine : sine;
    *first = radius * ((quarters + 1) & 2 ? -x : x);
    *second = radius * (quarters & 2 ? -y : y);
}

/* `steps` steps, an even number, of `chains` chains. Positions x are (dim, chains), and are
   overwritten; a chain's key is (high, low); `theta`, of size dim, is used by the linear energy. */
#define ULA(NAME, GRADIENT)                                                                       \
    void NAME(int64_t chains, int64_t dim, int64_t steps, float eta, const float *theta,          \
              const uint32_t *high, const uint32_t *low, float *positions) {                      \
        const float sigma = sqrtf(2.0f * eta);                                                    \
        _Pragma("omp parallel for collapse(2) schedule(dynamic)")                                  \
        for (int64_t e = 0; e < dim; ++e)                                                         \
            for (int64_t begin = 0; begin < chains; begin += BLOCK) {                             \
                const int64_t size = chains - begin < BLOCK ? chains - begin : BLOCK;             \
                const float slope = theta[e];                                                     \
                const uint32_t *k0 = high + begin, *k1 = low + begin;                             \
                float *x = positions + e * chains + begin;                                        \
                (void)slope;                                                                      \
                for (int64_t t = 0; t < steps; t += 2) {                                          \
                    _Pragma("omp simd")                                                           \
                    for (int64_t c = 0; c < size; ++c) {                                          \
                        float now = x[c], first, second;                                          \
                        normals(k0[c], k1[c], (uint32_t)t, (uint32_t)e, &first, &second);         \
                        now += sigma * first - eta * (GRADIENT);                                  \
                        now += sigma * second - eta * (GRADIENT);                                 \
                        x[c] = now;                                                               \
                    }                                                                             \
                }                                                                                 \
            }                                                                                     \
    }

ULA(linear, slope)
ULA(double_well, 4.0f * now * (now * now - 1.0f))
