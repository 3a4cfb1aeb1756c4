// The parts of Metal that naga's Metal code uses, in CUDA.
typedef unsigned int uint;
struct bool2_ { bool x, y; };
struct __align__(8) uint2_ {
    uint x, y;
    __device__ uint2_(uint a) : x(a), y(a) {}
    __device__ uint2_(uint a, uint b) : x(a), y(b) {}
    __device__ void operator-=(uint2_ o) { x -= o.x; y -= o.y; }
};
__device__ inline bool2_ operator==(uint2_ a, uint2_ b) { return {a.x == b.x, a.y == b.y}; }
namespace metal {
using ::max;
using ::min;
using ::uint2_;
__device__ inline uint clz(uint a) { return __clz(a); }
__device__ inline float clamp(float v, float a, float b) { return fminf(fmaxf(v, a), b); }
__device__ inline uint select(uint a, uint b, bool c) { return c ? b : a; }
__device__ inline bool all(bool2_ b) { return b.x && b.y; }
struct __align__(16) uint4 {
    uint x, y, z, w;
    __device__ uint4() : uint4(0) {}
    __device__ uint4(uint a) : uint4(a, a, a, a) {}
    __device__ uint4(uint a, uint b, uint c, uint d) : x(a), y(b), z(c), w(d) {}
};
#define EACH(op) \
    __device__ inline uint4 operator op(uint4 a, uint4 b) { return {a.x op b.x, a.y op b.y, a.z op b.z, a.w op b.w}; }
EACH(+) EACH(-) EACH(*) EACH(&) EACH(|) EACH(<<) EACH(>>)
// Workgroup memory.
typedef uint atomic_uint;
enum mem_flags { mem_threadgroup };
enum memory_order { memory_order_relaxed };
__device__ inline void threadgroup_barrier(mem_flags) { __syncthreads(); }
__device__ inline uint atomic_load_explicit(const volatile uint* p, memory_order) { return *p; }
__device__ inline void atomic_store_explicit(volatile uint* p, uint v, memory_order) { *p = v; }
__device__ inline uint atomic_fetch_or_explicit(uint* p, uint v, memory_order) { return atomicOr(p, v); }
}
template <class T, class V> __device__ T as_type(V v) {
    T t;
    memcpy(&t, &v, 4);
    return t;
}
