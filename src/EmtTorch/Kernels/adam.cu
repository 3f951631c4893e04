// Clips gradients and takes a step of Adam in one launch, for N networks, with the equations of EnsembleAdam. Each
// block takes one network, whose parameters may be in several pieces. CudaAdam.cs defines REAL and THREADS, a power of
// two, and compiles this.

struct Piece { REAL *parameters, *gradient, *means, *squares; long long count; }; // (N, count) each

// The arguments of a launch; the same as AdamLaunch in CudaAdam.cs.
struct Launch {
    Piece pieces[8];
    REAL* norms;                              // |g| before clipping (N)
    // The largest |g|, the decay in the gradient, and theta <- kept theta + m / (a sqrt(v) + b). Either for each
    // network (N), or, if these are null, the same for all.
    const REAL *limits, *decays, *kepts, *as, *bs;
    double limit, decay, kept, a, b;
    long long piece_count;
};

// Adam's defaults, and 1 minus them, rounded once.
constexpr REAL BETA1 = 0.9, REST1 = 1 - 0.9, BETA2 = 0.999, REST2 = 1 - 0.999;

extern "C" __global__ void __launch_bounds__(THREADS) clipped_adam(const Launch call)
{
    __shared__ double sums[THREADS];
    const int thread = threadIdx.x;
    const long long network = blockIdx.x;
    double sum = 0;
    for (int k = 0; k < call.piece_count; k++) {
        const Piece piece = call.pieces[k];
        const REAL* g = piece.gradient + network * piece.count;
        for (long long i = thread; i < piece.count; i += THREADS) sum += (double)g[i] * g[i];
    }
    sums[thread] = sum;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half) sums[thread] += sums[thread + half];
        __syncthreads();
    }
    const bool each = call.limits != nullptr;
    const REAL limit = each ? call.limits[network] : (REAL)call.limit;
    const REAL decay = each ? call.decays[network] : (REAL)call.decay;
    const REAL kept = each ? call.kepts[network] : (REAL)call.kept;
    const REAL a = each ? call.as[network] : (REAL)call.a, b = each ? call.bs[network] : (REAL)call.b;
    const REAL norm = sqrt(sums[0]), ratio = limit / (norm + (REAL)1e-6), factor = ratio > 1 ? 1 : ratio; // NaN stays
    if (thread == 0) call.norms[network] = norm;
    for (int k = 0; k < call.piece_count; k++) {
        const Piece piece = call.pieces[k];
        const long long start = network * piece.count;
        REAL *__restrict__ p = piece.parameters + start, *__restrict__ g = piece.gradient + start;
        REAL *__restrict__ m = piece.means + start, *__restrict__ v = piece.squares + start;
#pragma unroll 4
        for (long long i = thread; i < piece.count; i += THREADS) {
            const REAL clipped = g[i] * factor, gradient = clipped + decay * p[i];
            const REAL mean = BETA1 * m[i] + REST1 * gradient, square = BETA2 * v[i] + REST2 * gradient * gradient;
            g[i] = clipped;
            m[i] = mean;
            v[i] = square;
            p[i] = kept * p[i] + mean / (a * sqrt(square) + b);
        }
    }
}
