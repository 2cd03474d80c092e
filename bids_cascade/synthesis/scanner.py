"""Simulated acquisition of a head: point spread, slices, bias field, ghosts and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from bids_cascade.synthesis.config import AcquisitionConfig, Range
from bids_cascade.synthesis.fields import FloatArray, along_axes, linear_weights, smooth_noise

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Protocol:
    """The acquisition of one sequence.

    Attributes
    ----------
    voxel_mm : tuple of float
        Distance between voxel centres along X, Y, Z.
    extent_mm : tuple of float
        Extent of a voxel along X, Y, Z: less than its size if slices have gaps.
    psf_mm : tuple of float
        Standard deviation of the point spread beside that.
    sharpening : float
        Overshoot of edges; 0 for none.
    noise_sd, noise_unevenness, bias_sd : float
        Relative to white matter; spread of the noise's field; spread of the bias field's logarithm.
    bias_spacing_mm : float
    ghosts : tuple of (int, float, float)
        Axis, shift as a fraction of the field of view, and gain of each copy.
    """

    voxel_mm: Triple
    extent_mm: Triple
    psf_mm: Triple
    sharpening: float = 0.0
    noise_sd: float = 0.0
    noise_unevenness: float = 0.0
    bias_sd: float = 0.0
    bias_spacing_mm: float = 100.0
    ghosts: tuple[tuple[int, float, float], ...] = ()

    @property
    def sliced(self) -> bool:
        """Whether it acquires thick slices."""
        return self.voxel_mm[2] > 2 * self.voxel_mm[0]


def draw_protocols(config: AcquisitionConfig, corrected: bool, rng: np.random.Generator) -> tuple[Protocol, Protocol]:
    """Draw the protocols of a visit's T1w and FLAIR.

    Parameters
    ----------
    config : AcquisitionConfig
    corrected : bool
        Whether the bias field is only that left after correction.
    rng : numpy.random.Generator
    """
    kind = int(rng.choice(len(config.protocol_fractions), p=config.protocol_fractions))
    bias_sd = config.residual_bias_sd if corrected else config.bias_sd
    t1w = _draw_protocol(config, kind in (2, 3), config.t1w_noise_sd, bias_sd, rng)
    return t1w, _draw_protocol(config, kind in (1, 2), config.flair_noise_sd, bias_sd, rng)


def _draw_protocol(
    config: AcquisitionConfig, sliced: bool, noise_sd: Range, bias_sd: Range, rng: np.random.Generator
) -> Protocol:
    if sliced:
        in_plane = rng.uniform(*config.voxel_2d_mm)
        voxel_mm = np.array([in_plane, in_plane, rng.uniform(*config.slice_mm)])
        extent_mm = voxel_mm * [1, 1, rng.uniform(*config.slice_fill)]
    else:
        voxel_mm = np.full(3, rng.uniform(*config.voxel_3d_mm))
        voxel_mm[rng.integers(3)] *= rng.uniform(*config.anisotropy_3d)
        extent_mm = voxel_mm
    psf_mm = rng.uniform(*config.psf_voxels) * voxel_mm
    if sliced:
        psf_mm[2] = 0.1 * voxel_mm[2]  # a slice's profile is nearly a box
    ghosts: tuple[tuple[int, float, float], ...] = ()
    if rng.random() < config.ghost_fraction:
        axis = int(rng.integers(2))
        ghosts = tuple(
            (axis, float(rng.uniform(*config.ghost_shift)), float(rng.uniform(*config.ghost_gain)))
            for _ in range(config.n_ghosts)
        )
    return Protocol(
        voxel_mm=_triple(voxel_mm),
        extent_mm=_triple(extent_mm),
        psf_mm=_triple(psf_mm),
        sharpening=float(rng.uniform(*config.sharpening)),
        noise_sd=float(rng.uniform(*noise_sd)),
        noise_unevenness=float(rng.uniform(*config.noise_unevenness)),
        bias_sd=float(rng.uniform(*bias_sd)),
        bias_spacing_mm=float(rng.uniform(*config.bias_spacing_mm)),
        ghosts=ghosts,
    )


@dataclass(frozen=True)
class Scanner:
    """A protocol over a field of view: 1 mm voxels of a head in, the scan's voxels out.

    Attributes
    ----------
    protocol : Protocol
    head_shape : tuple of int
        (X, Y, Z) of the head's 1 mm grid, which is the field of view.
    """

    protocol: Protocol
    head_shape: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the scan's shape."""
        x, y, z = (max(2, int(n // step)) for n, step in zip(self.head_shape, self.protocol.voxel_mm, strict=True))
        return x, y, z

    def positions(self, axis: int) -> NDArray[np.float64]:
        """Return where the scan's voxel centres lie along an axis, in voxels of the head's grid."""
        n, step = self.shape[axis], self.protocol.voxel_mm[axis]
        return np.asarray((self.head_shape[axis] - 1) / 2 + step * (np.arange(n) - (n - 1) / 2))

    def affine(self, head_affine: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scan's affine from the head's."""
        own = np.diag([*self.protocol.voxel_mm, 1.0])
        own[:3, 3] = [self.positions(axis)[0] for axis in range(3)]
        return np.asarray(head_affine @ own, np.float64)

    def blur(self, volume: FloatArray) -> FloatArray:
        """Return a head's map as acquired without noise, on the scan's grid."""
        return along_axes(volume, [self._point_spread(axis, 0.0) for axis in range(3)])

    def acquire(self, signal: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Return the scan of a head's signal."""
        protocol = self.protocol
        scan = along_axes(signal, [self._point_spread(axis, protocol.sharpening) for axis in range(3)])
        np.maximum(scan, 0, out=scan)
        spacing = [protocol.bias_spacing_mm / step for step in protocol.voxel_mm]
        scan *= np.exp(protocol.bias_sd * smooth_noise(rng, scan.shape, spacing))
        ghosted = scan.copy() if protocol.ghosts else scan
        for axis, shift, gain in protocol.ghosts:
            ghosted += gain * np.roll(scan, round(shift * scan.shape[axis]), axis)
        return self._noisy(ghosted, rng)

    def back(self, scan: FloatArray) -> FloatArray:
        """Return a scan interpolated linearly to the head's grid, as preprocessing does."""
        weights = []
        for axis in range(3):
            places = self.positions(axis)
            step = self.protocol.voxel_mm[axis]
            weights.append(linear_weights((np.arange(self.head_shape[axis]) - places[0]) / step, len(places)))
        return along_axes(scan, weights)

    def _noisy(self, scan: FloatArray, rng: np.random.Generator) -> FloatArray:
        uneven = np.exp(self.protocol.noise_unevenness * smooth_noise(rng, scan.shape, max(scan.shape) / 3))
        sd = np.float32(self.protocol.noise_sd) * uneven
        real, imaginary = (sd * rng.standard_normal(scan.shape, dtype=np.float32) for _ in range(2))
        return np.asarray(np.hypot(scan + real, imaginary), np.float32)

    def _point_spread(self, axis: int, sharpening: float) -> FloatArray:
        """Return the matrix (n scan, n head) that averages over a voxel's extent and point spread along an axis."""
        distance = np.arange(self.head_shape[axis])[None] - self.positions(axis)[:, None]
        half, sd = self.protocol.extent_mm[axis] / 2, self.protocol.psf_mm[axis]
        weights = (1 + sharpening) * _spread(distance, half, sd) - sharpening * _spread(distance, half, 2 * sd + 0.5)
        return weights.astype(np.float32)


def _spread(distance: NDArray[np.float64], half: float, sd: float) -> NDArray[np.float64]:
    """Return a box of half-width `half` blurred by a Gaussian, at these distances, each row with the sum 1."""
    scale = max(sd, 0.05) * np.sqrt(2)
    weights = erf((distance + half) / scale) - erf((distance - half) / scale)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _triple(values: NDArray[np.float64]) -> Triple:
    x, y, z = values.tolist()
    return x, y, z
