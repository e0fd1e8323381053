"""Why an instruction stops: the status codes of the kernels and their texts."""

OK = 0
GROW_HBM = -1
"""Not a trap: the page pool is full; the instruction has done nothing and runs again once it has grown."""

VRAM_ADDRESS = 1
MRAM_ADDRESS = 2
MATRIX_OFFSET_ROW = 3
MATRIX_OFFSET_BLOCK = 4
MATRIX_OFFSET_HEAD = 5
WRITE_OUT_LANE = 6
FP_INDEX = 7
INT_INDEX = 8
FP_REGISTER = 9
HBM_WRITE = 10
LOOP_ZERO = 11
LOOP_UNMATCHED = 12
LOOP_LIMIT = 13
BREAK_OUTSIDE = 14
INVALID = 15
BMV = 16
TOPK_POLICY = 17
BATCHED_RD = 18
LOOP_DEPTH = 19
STRICT_ZERO_REGISTER = 20
STRICT_HBM_READ = 21
STRICT_POISON_FP = 22
STRICT_POISON_INT = 23
TOO_MANY_INSTRUCTIONS = 24
STRICT_SCALES = 25
STRICT_POISON_HBM = 26
STRICT_POISON_TOPK = 27

TRAP_TEXT = {
    VRAM_ADDRESS: "Vector SRAM address is not a multiple of VLEN, or past the last row",
    MRAM_ADDRESS: "Matrix SRAM address is not the base of a tile, or past the last tile",
    MATRIX_OFFSET_ROW: "matrix offset in the tile is not a multiple of BLEN * MLEN",
    MATRIX_OFFSET_BLOCK: "matrix offset in the tile is not a multiple of BLEN below MLEN",
    MATRIX_OFFSET_HEAD: "matrix offset in the tile is not a multiple of HLEN below MLEN",
    WRITE_OUT_LANE: "write-out lane is not a multiple of BLEN",
    FP_INDEX: "FP SRAM index is past the last of 1024 entries",
    INT_INDEX: "INT SRAM index is past the last of 1024 entries",
    FP_REGISTER: "there are only the registers f0 to f7",
    HBM_WRITE: "HBM write past the end",
    LOOP_ZERO: "loop count 0",
    LOOP_UNMATCHED: "C_LOOP_END without a C_LOOP_START of its register",
    LOOP_LIMIT: "one iteration of a loop executes more than MAX_LOOP_INSTRUCTIONS instructions",
    BREAK_OUTSIDE: "C_BREAK outside of any loop",
    INVALID: "invalid opcode",
    BMV: "M_BMV always traps: its accumulator has another shape",
    TOPK_POLICY: "V_TOPK policy must be 0 or 1",
    BATCHED_RD: "rd of M_BMM and M_BTMM must be 0; the machine refuses to decode the program",
    LOOP_DEPTH: "more active loops than the emulator keeps",
    STRICT_ZERO_REGISTER: "strict: gp0 and f0 hold zero by convention and may not be written",
    STRICT_HBM_READ: "strict: HBM read past the end",
    STRICT_SCALES: "strict: the scale bytes of a row straddle two blocks of 64 bytes, of which the machine fetches the first only",
    STRICT_POISON_FP: "strict: NaN reaches an f register",
    STRICT_POISON_HBM: "strict: NaN is stored to HBM, where it would become a number",
    STRICT_POISON_TOPK: "strict: NaN among the lanes that V_TOPK ranks",
    STRICT_POISON_INT: "strict: an INT SRAM word that nothing wrote reaches a gp register",
    TOO_MANY_INSTRUCTIONS: "the program executes more instructions than allowed",
}
