// Faults that a test plants in the emulated GPU, to see that they are found. The variable
// ELASTRON_EMULATED_FAULT names one: "WHO:WHAT".
//
//   WHO   hopper        kernels with sm_90's products    WHAT  mask   masked scores count
//         mma           kernels with mma                       tile   a product of a tile is lost
//         mma-gradients those of the backward pass             stale  a copy to shared memory is
//                       (mask only)                                   lost
//         plain         all kernels (tile only)                hang   the kernel never ends
//         products      the library's products
//         library       the library's attention
//         gradients     the library's attention, backward
#pragma once
#include <string>

namespace elastron::emulator {

enum class Faulty { hopper, mma, mma_gradients, plain, products, library, gradients };
enum class Fault { mask, tile, stale, hang };

// From here on, in place of what the variable says; "" for none.
void plant(const std::string& fault);
bool planted(Faulty who, Fault what);
// Whether an event of a kernel that this is asked about in turn is the one to go wrong: some in the
// middle.
bool goes_wrong(Faulty who, Fault what);
// Never comes back where a hang is planted.
void hang_if_planted(Faulty who);

void faults_kernel_begins();
// The running kernel is one of sm_90's.
void faults_hopper_kernel();

}  // namespace elastron::emulator
