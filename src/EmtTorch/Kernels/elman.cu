// All time steps of the Elman recurrence in one launch, for N networks of H hidden units and B sequences each.
//
//   forward    h(t) = tanh(x(t) + W h(t-1)),                  h(0) = 0
//   backward   d(t) = (1 - h(t)^2) * (g(t) + W^T d(t+1)),     d(L+1) = 0, where L is a network's last step
//
// x(t) is the given drive W_uh u(t) + b for t <= S, and b (or 0) after that; g(t) is the loss's gradient in h(t).
// Sequences are independent: a block takes ROWS sequences of one network through all steps. Each of its threads keeps a
// piece of W, the weights of UNITS units from INPUTS of the H inputs: HELD of them in registers, the rest in shared
// memory. A thread's sums over its inputs are partial; a unit's sum is that of PARTS threads.
//
// CudaElman.cs defines REAL, H, ROWS, UNITS, PARTS, INPUTS, HELD and compiles this for each shape. Multiplications and
// additions are in REAL, so that results equal the CPU's to rounding.

constexpr int GROUPS = (H + UNITS - 1) / UNITS;  // threads for all units
constexpr int THREADS = GROUPS * PARTS;
constexpr int WIDTH = PARTS * INPUTS;            // of a state in shared memory, at least H; zeros fill it up
constexpr int ITEMS = (ROWS * H + THREADS - 1) / THREADS;
constexpr int PACK = 16 / sizeof(REAL);          // what one load from shared memory brings

struct alignas(16) Pack { REAL of[PACK]; };

extern __shared__ Pack shared_memory[];

__device__ inline float hyperbolic_tangent(float x) { return tanhf(x); }
__device__ inline double hyperbolic_tangent(double x) { return tanh(x); }

// The arguments of a launch; the same as ElmanLaunch in CudaElman.cs.
struct Launch {
    const REAL* weights;            // W (N, H, H)
    const REAL* given;              // x (N, S, B, H); backward g (N, T, B, H)
    const REAL* bias;               // b (N, H), or null
    const REAL* states;             // h (N, T, B, H), backward only
    REAL* result;                   // h or d (N, T, B, H); may be what is given
    const int* lengths;             // each network's last step (N), after which the result is 0; null if all are T
    long long weights_stride, bias_stride; // from one network to the next
    int steps, given_steps, batch;  // T, S, B
};

template <bool BACKWARD>
__device__ void recur(const Launch& call)
{
    REAL* state = (REAL*)shared_memory;              // (ROWS, WIDTH): h(t-1), or d(t+1)
    REAL* partial = state + ROWS * WIDTH;            // (PARTS, ROWS, H)
    REAL* rest = partial + PARTS * ROWS * H;         // weights not in registers, (UNITS * INPUTS - HELD, THREADS)
    const int thread = threadIdx.x, part = thread / GROUPS, group = thread % GROUPS;
    const int steps = call.steps, given_steps = call.given_steps, batch = call.batch;
    const int blocks = (batch + ROWS - 1) / ROWS;    // of a network
    const long long network = blockIdx.x / blocks;
    const int first = blockIdx.x % blocks * ROWS, count = min(ROWS, batch - first) * H;
    const REAL *weights = call.weights + network * call.weights_stride, *given = call.given, *bias = call.bias;
    REAL* result = call.result;

    REAL held[HELD > 0 ? HELD : 1];
#pragma unroll
    for (int i = 0; i < UNITS * INPUTS; i++) {
        const int unit = group + i / INPUTS * GROUPS, input = part * INPUTS + i % INPUTS;
        const REAL weight = unit < H && input < H ? weights[BACKWARD ? input * H + unit : unit * H + input] : 0;
        if (i < HELD) held[i] = weight;
        else rest[(i - HELD) * THREADS + thread] = weight;
    }
    for (int i = thread; i < ROWS * WIDTH; i += THREADS) state[i] = 0;
    __syncthreads();

    const int length = call.lengths ? call.lengths[network] : steps;
    for (int step = 0; step < length; step++) {
        const int t = BACKWARD ? length - 1 - step : step;
        const long long here = ((network * steps + t) * batch + first) * H;
        // Loads what is added to the product before computing it, so that the memory's latency is hidden.
        REAL added[ITEMS], slope[ITEMS];
#pragma unroll
        for (int n = 0; n < ITEMS; n++) {
            const int i = thread + n * THREADS;
            added[n] = slope[n] = 0;
            if (i >= count) continue;
            if (t < given_steps) added[n] = given[((network * given_steps + t) * batch + first) * H + i];
            else if (bias) added[n] = bias[network * call.bias_stride + i % H];
            if (BACKWARD) slope[n] = call.states[here + i];
        }
        if (step > 0) {
            REAL sum[UNITS][ROWS] = {};
#pragma unroll
            for (int k = 0; k < INPUTS; k += PACK)
#pragma unroll
                for (int row = 0; row < ROWS; row++) {
                    const Pack from = *(const Pack*)(state + row * WIDTH + part * INPUTS + k);
#pragma unroll
                    for (int u = 0; u < UNITS; u++)
#pragma unroll
                        for (int j = 0; j < PACK; j++) {
                            const int i = u * INPUTS + k + j;
                            sum[u][row] += (i < HELD ? held[i] : rest[(i - HELD) * THREADS + thread]) * from.of[j];
                        }
                }
#pragma unroll
            for (int u = 0; u < UNITS; u++)
                if (group + u * GROUPS < H)
#pragma unroll
                    for (int row = 0; row < ROWS; row++)
                        partial[(part * ROWS + row) * H + group + u * GROUPS] = sum[u][row];
            __syncthreads();
        }
#pragma unroll
        for (int n = 0; n < ITEMS; n++) {
            const int i = thread + n * THREADS;      // of the block's rows, H numbers each
            if (i >= count) continue;
            REAL value = added[n];
            if (step > 0)
                for (int p = 0; p < PARTS; p++) value += partial[p * ROWS * H + i];
            value = BACKWARD ? value * (1 - slope[n] * slope[n]) : hyperbolic_tangent(value);
            state[i / H * WIDTH + i % H] = value;
            result[here + i] = value;
        }
        __syncthreads();
    }
    for (int t = length; t < steps; t++)
        for (int i = thread; i < count; i += THREADS) result[((network * steps + t) * batch + first) * H + i] = 0;
}

extern "C" __global__ void __launch_bounds__(THREADS) elman_forward(const Launch call) { recur<false>(call); }
extern "C" __global__ void __launch_bounds__(THREADS) elman_backward(const Launch call) { recur<true>(call); }
