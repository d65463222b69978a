# The CUDA back end: one list of sources, built for the GPU by nvcc, or for the CPU by the C++ compiler
# against tests/support/cuda_emulator.
#
# ELASTRON_CUDA=AUTO builds it in where the toolkit is found; ON asks for it; OFF leaves it out.
# ELASTRON_CUDA_ARCHITECTURES: default those of this machine's GPUs, or sm_90a where there
# are none (ElastronGpuArchitectures.cmake).
set(ELASTRON_CUDA AUTO CACHE STRING "CUDA back end: AUTO, ON or OFF")
set(ELASTRON_CUDNN AUTO CACHE STRING "cuDNN's attention: AUTO, ON or OFF")
set(ELASTRON_CUDA_ARCHITECTURES "" CACHE STRING "e.g. 80-real;90a-real;100-real;100-virtual")
option(ELASTRON_CUDA_DEBUG_BARRIERS "Waits of the kernels for sm_90a end, and say what for" OFF)

set(ELASTRON_WITH_CUDA OFF)
set(ELASTRON_WITH_NCCL OFF)
set(ELASTRON_WITH_CUDNN OFF)
if(NOT ELASTRON_CUDA STREQUAL OFF)
  if(ELASTRON_CUDA STREQUAL ON)
    find_package(CUDAToolkit 12 REQUIRED)
  else()
    find_package(CUDAToolkit 12 QUIET)
  endif()
  if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE)
    set(ELASTRON_WITH_CUDA ON)
  endif()
endif()

if(ELASTRON_WITH_CUDA)
  if(NOT ELASTRON_CUDA_ARCHITECTURES)
    include(ElastronGpuArchitectures)
    elastron_gpu_architectures(CMAKE_CUDA_ARCHITECTURES ${CUDAToolkit_NVCC_EXECUTABLE})
  else()
    set(CMAKE_CUDA_ARCHITECTURES ${ELASTRON_CUDA_ARCHITECTURES})
  endif()
  set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
  if(CCACHE)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
  endif()
  enable_language(CUDA)
  # CMake 3.25 does not know nvcc's flag for C++20.
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  message(STATUS "CUDA ${CUDAToolkit_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} $ENV{NCCL_HOME}/include)
  if(NCCL_INCLUDE_DIR)
    set(ELASTRON_WITH_NCCL ON)
    message(STATUS "NCCL's header in ${NCCL_INCLUDE_DIR}")
  else()
    message(STATUS "no NCCL: nccl.h was not found (libnccl-dev, or NCCL_HOME)")
  endif()
  if(NOT ELASTRON_CUDNN STREQUAL OFF)
    # The frontend is headers only; its Python package has them.
    find_path(CUDNN_INCLUDE_DIR cudnn_graph.h
      HINTS ${CUDAToolkit_INCLUDE_DIRS} $ENV{CUDNN_HOME}/include)
    find_path(CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h HINTS
      ${PROJECT_SOURCE_DIR}/.deps/cudnn-frontend/include ${CUDAToolkit_INCLUDE_DIRS}
      $ENV{CUDNN_FRONTEND_HOME}/include)
    if(CUDNN_INCLUDE_DIR AND CUDNN_FRONTEND_INCLUDE_DIR)
      set(ELASTRON_WITH_CUDNN ON)
      set(ELASTRON_CUDNN_DEFINITIONS ELASTRON_WITH_CUDNN=1 CUDNN_FRONTEND_SKIP_JSON_LIB
        NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING)
      message(STATUS "cuDNN's frontend in ${CUDNN_FRONTEND_INCLUDE_DIR}")
    elseif(ELASTRON_CUDNN STREQUAL ON)
      message(FATAL_ERROR "ELASTRON_CUDNN=ON: cudnn_graph.h or cudnn_frontend.h was not found "
        "(launch/setup.sh fetches the latter; CUDNN_HOME, CUDNN_FRONTEND_HOME)")
    else()
      message(STATUS "no cuDNN: cudnn_graph.h or cudnn_frontend.h was not found")
    endif()
  endif()
else()
  message(STATUS "no CUDA back end (ELASTRON_CUDA=${ELASTRON_CUDA})")
endif()

set(ELASTRON_CUDA_HOST_SOURCES core/cuda/device.cpp core/cuda/event.cpp core/cuda/free_memory.cpp
  core/cuda/gpus.cpp core/cuda/graph.cpp core/cuda/host_copies.cpp core/cuda/model_and_driver.cpp
  ops/cuda/attention/library_attention.cpp ops/cuda/matmul.cpp
  ops/cuda/tensor_map.cpp)
set(ELASTRON_CUDA_KERNELS
  ops/cuda/attention/argmax.cu ops/cuda/attention/backward.cu ops/cuda/attention/backward_hopper.cu
  ops/cuda/attention/backward_hopper_dq.cu ops/cuda/attention/backward_mma.cu
  ops/cuda/attention/decode.cu ops/cuda/attention/forward.cu ops/cuda/attention/forward_hopper.cu
  ops/cuda/attention/forward_mma.cu ops/cuda/attention/full_attention_kernels.cu
  ops/cuda/attention/tile_schedule.cu ops/cuda/attention/topk.cu ops/cuda/attention/visited_tiles.cu
  ops/cuda/attention/xattention.cu ops/cuda/attention/xattention_mma.cu
  ops/cuda/dequantise.cu ops/cuda/elementwise.cu ops/cuda/expert_choice.cu ops/cuda/expert_rows.cu ops/cuda/gate.cu
  ops/cuda/gathered_read.cu ops/cuda/grouped_linear.cu ops/cuda/hard_concrete.cu
  ops/cuda/head_groups.cu ops/cuda/mlp_chain.cu ops/cuda/plain_matmul.cu ops/cuda/reductions.cu ops/cuda/rms_norm.cu
  ops/cuda/rms_norm_rope.cu ops/cuda/rows.cu ops/cuda/sparsity_objective.cu ops/cuda/token_ops.cu)
list(TRANSFORM ELASTRON_CUDA_HOST_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/)
list(TRANSFORM ELASTRON_CUDA_KERNELS PREPEND ${PROJECT_SOURCE_DIR}/)
if(ELASTRON_CUDA_DEBUG_BARRIERS)
  add_compile_definitions($<$<COMPILE_LANGUAGE:CUDA>:ELASTRON_CUDA_DEBUG_BARRIERS=1>)
endif()

# For kernels that nvcc builds.
function(elastron_kernel_flags target)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -Xcompiler=-Wall,-Werror -Werror=all-warnings
      -lineinfo>)
endfunction()

function(elastron_cuda_library name)
  add_library(elastron_${name} STATIC ${ELASTRON_CUDA_HOST_SOURCES} ${ELASTRON_CUDA_KERNELS}
    ${PROJECT_SOURCE_DIR}/ops/cuda/attention/full_attention.cpp)
  target_include_directories(elastron_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  # The runtime is linked in and looks for the driver when it is first called: the program starts
  # where there is none.
  target_link_libraries(elastron_${name} PUBLIC elastron_core
    PRIVATE CUDA::cudart_static CUDA::cublasLt)
  target_compile_definitions(elastron_${name} PRIVATE ELASTRON_WITH_CUDA=1)
  # tests/ops/cuda/machine_code_test.py reads what ptxas made of these.
  set(read ${ELASTRON_CUDA_KERNELS})
  list(FILTER read INCLUDE REGEX "ward_hopper")
  set_source_files_properties(${read} PROPERTIES COMPILE_OPTIONS -no-compress)
  if(ELASTRON_WITH_CUDNN)
    # Loaded when it is needed: only headers are wanted here.
    set_source_files_properties(${PROJECT_SOURCE_DIR}/ops/cuda/attention/full_attention.cpp PROPERTIES
      COMPILE_DEFINITIONS "${ELASTRON_CUDNN_DEFINITIONS}")
    target_include_directories(elastron_${name} SYSTEM PRIVATE ${CUDNN_FRONTEND_INCLUDE_DIR}
      ${CUDNN_INCLUDE_DIR})
    target_link_libraries(elastron_${name} PRIVATE ${CMAKE_DL_LIBS})
  endif()
  elastron_kernel_flags(elastron_${name})
endfunction()

# For device code that the C++ compiler builds.
function(elastron_emulator_flags target)
  target_include_directories(${target} BEFORE PRIVATE
    ${PROJECT_SOURCE_DIR}/tests/support/cuda_emulator/include)
  # Pragmas of nvcc; setjmp makes the compiler doubt variables that no jump crosses.
  target_compile_options(${target} PRIVATE -Wno-unknown-pragmas -Wno-clobbered -Wno-shadow
    -Wno-subobject-linkage)
endfunction()

# A kernel as C++, under a name of its own: a source file has one language. `result` is its path.
function(elastron_emulated_kernel result kernel)
  get_filename_component(stem ${kernel} NAME_WE)
  set(copy ${CMAKE_CURRENT_BINARY_DIR}/emulated/${stem}.cpp)
  file(CONFIGURE OUTPUT ${copy} CONTENT "#include \"${kernel}\"\n")
  set(${result} ${copy} PARENT_SCOPE)
endfunction()

function(elastron_emulated_cuda_library name)
  set(emulator ${PROJECT_SOURCE_DIR}/tests/support/cuda_emulator)
  add_library(elastron_${name} STATIC ${ELASTRON_CUDA_HOST_SOURCES} ${emulator}/runtime.cpp
    ${emulator}/faults.cpp ${emulator}/full_attention.cpp ${emulator}/function_name.cpp
    ${emulator}/hopper.cpp ${emulator}/matmul.cpp ${emulator}/memory.cpp
    ${emulator}/stream_order.cpp ${emulator}/streams.cpp
    ${emulator}/tensor_core.cpp)
  foreach(kernel ${ELASTRON_CUDA_KERNELS})
    elastron_emulated_kernel(copy ${kernel})
    target_sources(elastron_${name} PRIVATE ${copy})
  endforeach()
  target_link_libraries(elastron_${name} PUBLIC elastron_core)
  target_compile_definitions(elastron_${name} PRIVATE ELASTRON_WITH_CUDA=1)
  elastron_flags(elastron_${name})
  elastron_emulator_flags(elastron_${name})
endfunction()
