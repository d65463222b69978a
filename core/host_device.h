#pragma once
// Marks formulas that run on the CPU and, compiled by nvcc, on the GPU.
#if defined(__CUDACC__)
#define ELASTRON_HD __host__ __device__
#else
#define ELASTRON_HD
#endif
